"""Small peers on other implementations' published libraries."""
