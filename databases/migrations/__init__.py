"""Django's migrations of the app `stoker.databases`."""
