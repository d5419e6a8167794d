"""Rules for alarms and unknown sources. Both are bounded, however much a peer sends."""
