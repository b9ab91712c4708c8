"""Tools: what the model is told about them, and what becomes of its calls.

A tool is a Python function (`FunctionTool`, with the JSON schema from its signature and docstring), a function
schema as a dictionary, or one of the API's built-in tools. A `Toolbox` holds an assistant's tools. `prepare`,
`output_of` and `failure_of` turn a call into something to run, and its end into an answer for the model; they
run nothing themselves.
"""

from __future__ import annotations

from assistantguard.tools.answers import Prepared, ToolError, failure_of, output_of, prepare
from assistantguard.tools.function import FunctionTool, tool
from assistantguard.tools.toolbox import Toolbox

__all__ = ["FunctionTool", "Prepared", "ToolError", "Toolbox", "failure_of", "output_of", "prepare", "tool"]
