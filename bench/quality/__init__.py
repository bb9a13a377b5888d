"""What a shortened conversation still holds, on conversations of others, beside other ways."""
