"""The deployment as values: what runs, in which order, told what, and how one sees that it is well. Pure; targets act."""
