"""Where a stack runs: one package per target, each with a pure `render` and a part that acts."""
