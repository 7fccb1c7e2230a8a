"""The bus inside one process: `memory://` keeps every promise but durability. Read `inbox` first."""
