"""What schedules cost the worker that fires them."""
