"""Plans and runs for people and programs: text, Markdown, JSON. Values in, text out."""
