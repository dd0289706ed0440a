"""Programs that measure speed, memory and errors of the product."""
