"""Adapters that put the ops into other libraries; each imports its library when it is used."""
