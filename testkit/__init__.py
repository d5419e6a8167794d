"""Real neighbours for tests, benchmarks and the demo: SIP endpoints, Kamailio, DNS, SIPp."""
