"""PostgreSQL for Python without C."""

__version__ = "0.1.0"
