"""Dispatch: ready records go to the gates and on to the runners; what starts, stops and counts them."""
