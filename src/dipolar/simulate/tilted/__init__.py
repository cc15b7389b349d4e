"""Perovskites under a tilted beam: the crystal, its stamps by multislice, and images made of stamps.

Crystal and stamps need PyTorch, which ``import dipolar.simulate`` does not: import this by its own name.
"""
