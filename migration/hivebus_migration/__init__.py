"""Two roads side by side: dual write by stages, a ledger of its own, and which road delivered."""
