"""What limits, fairness and priorities cost, and how well they hold."""
