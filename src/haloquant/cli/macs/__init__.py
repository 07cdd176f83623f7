"""Commands about MACs: from a netlist or a cell library (`circuits`, `libraries`), and about profiles (`profiles`)."""
