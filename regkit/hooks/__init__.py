"""The hooks: their specifications, what a class implements of them, and how a set of regularizers calls them."""
