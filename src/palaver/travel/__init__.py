"""Conversations that come from elsewhere and go elsewhere: readers, writers, and repair.

Everything here is pure: bytes or plain objects in, messages out, and back. Storing is the
service's.
"""
