"""The MPC contract: pure rules (logic.py and what it imports) and the thin module that NEAR calls (contract.py)."""
