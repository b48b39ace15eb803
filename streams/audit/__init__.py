"""The auditor: what a deployment left behind goes in, what does not add up comes out.

Pure: it is fed with the messages of the topics, in any order, and with the lines of a ledger; it reads nothing itself.
:mod:`streams.audit.auditor` is the door. It knows the contracts and nothing of the code that it audits, so that a
mistake in a lane is not repeated here.
"""
