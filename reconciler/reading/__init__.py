"""What there is to read, as documents: what routes of the server answer and pages show. Each function sees only what its caller may see."""
