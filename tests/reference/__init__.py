"""Oracles: the method written to be read, one cluster, one entity and one candidate at a time.

The fast implementations are tested to agree with these. They import the tables, the settings and the interface of
the training loss, and nothing of what they check.
"""
