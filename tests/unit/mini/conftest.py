import sys
from pathlib import Path

LOCAL = Path(__file__).resolve().parents[3] / "egs2/mini/psslm1/local"
sys.path.insert(0, str(LOCAL))  # the recipe's modules are no package
