"""The two agents and the shell that runs lanes: the only place where decisions meet clocks, tasks and requests.

Reading order: ``route`` (intents to parcels), ``submit`` (parcels to lanes), ``owned`` (a partition and its lanes),
``lane_runner`` (does what lanes want), ``requests`` (their HTTP), ``encode`` (their writes as Kafka messages).
"""
