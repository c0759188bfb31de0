"""Writes the OpenAI and Azure part of the PyPI package genai-prices (MIT) as JSON, decimals as text.

  python3 -m venv /tmp/v && /tmp/v/bin/pip install genai-prices
  /tmp/v/bin/python scripts/prices/export-genai-prices.py > /tmp/genai-prices.json
"""

import dataclasses
import datetime
import importlib.metadata
import json
import sys
from decimal import Decimal

from genai_prices import data


def plain(value):
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if type(value).__name__ == "ModelPrice":
        return {key: plain(item) for key, item in value.prices.items()} if hasattr(value, "prices") else {key: plain(item) for key, item in vars(value).items() if item is not None}
    if dataclasses.is_dataclass(value):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if getattr(value, field.name) is not None}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value


providers = {p.id: [plain(m) for m in p.models] for p in data.providers if p.id in ("openai", "azure")}
json.dump({"version": importlib.metadata.version("genai-prices"), "providers": providers}, sys.stdout, indent=1)
