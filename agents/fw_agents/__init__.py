"""Agents on the gateway: the LangGraph adapter, and reference agents that do real tasks."""
