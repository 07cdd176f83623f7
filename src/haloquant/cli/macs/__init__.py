"""Commands about MACs: from a netlist or a cell library (`circuits`), and about profiles (`profiles`)."""
