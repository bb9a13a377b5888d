"""Measures Palaver beside a raw reader, the providers' SDKs and LangChain; `python -m bench`."""
