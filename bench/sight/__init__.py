"""What limits, fairness and priorities cost, and how well they keep what they promise."""
