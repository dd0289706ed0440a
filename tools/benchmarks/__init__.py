"""Programs that measure what the tools promise."""
