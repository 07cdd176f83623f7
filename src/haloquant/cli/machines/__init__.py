"""Commands about accelerators. `options` holds the options that they share; `new_silicon` presents a comparison."""
