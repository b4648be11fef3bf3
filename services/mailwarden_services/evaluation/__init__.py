"""What a home holds as scored tables, and the report of them."""
