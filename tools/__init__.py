"""Workshop tools: they import the runtime; nothing imports them."""
