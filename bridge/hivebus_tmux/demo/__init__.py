"""Six agents on two roads, one of them killed in the middle: what each road delivers, measured on this machine."""
