"""Failures that each rule of the table decides, and no earlier one."""

from __future__ import annotations

from assistantguard.failures import Facts

__all__ = ["EXAMPLES"]

QUOTA = "You exceeded your current quota, please check your plan and billing details."
LOCKED = "Another process is currently operating on this conversation. Please retry in a few seconds."
TOO_LONG = "Your input exceeds the context window of this model. Please adjust your input and try again."

EXAMPLES: dict[str, tuple[Facts, ...]] = {
    "never sent": (Facts("connect", "Connection error."), Facts("connect", QUOTA)),
    "no answer": (Facts("request", "Request timed out."), Facts("request", QUOTA)),
    "stream broken off": (
        Facts("stream", "peer closed connection without sending complete message body"),
        Facts("stream", "The server had an error.", code="server_error"),
    ),
    "quota or spend limit": (
        Facts("request", QUOTA, 429, "insufficient_quota", "insufficient_quota"),
        Facts("request", QUOTA, 429, type="insufficient_quota"),
        Facts("request", QUOTA, 500),
        Facts("request", "Billing hard limit has been reached", 400, "billing_hard_limit_reached"),
        Facts("request", "Your account is not active.", 429, "billing_not_active"),
        Facts("request", "The organization has reached its limit.", 403, "spend_limit_reached"),
    ),
    "request larger than the rate limit": (
        Facts("request", "Request too large for gpt-6-luna on tokens per min (TPM).", 429, "rate_limit_exceeded"),
    ),
    "conversation locked": (
        Facts("request", LOCKED, 400, "conversation_locked", "invalid_request_error"),
        Facts("request", LOCKED, 409),
    ),
    "function call without output": (
        Facts("request", "No tool output found for function call call_1.", 400, type="invalid_request_error"),
    ),
    "function call output without call": (
        Facts("request", "No tool call found for function call output with call_id call_1.", 400),
    ),
    "reasoning item without its partner": (
        Facts("request", "Item 'rs_1' of type 'reasoning' was provided without its required following item.", 400),
        Facts("request", "Item 'msg_1' of type 'message' was provided without its required 'reasoning' item.", 400),
    ),
    "context longer than the model takes": (
        Facts("request", TOO_LONG, 400),
        Facts("request", "Too long.", 400, "context_length_exceeded"),
    ),
    "vector store gone": (
        Facts("request", "Vector store with id vs_1 not found.", 404),
        Facts("request", "Vector store vs_1 is expired.", 400),
    ),
    "conversation gone": (
        Facts("request", "Conversation with id 'conv_1' not found.", 404),
        Facts("request", "No thread found with id 'thread_1'.", 404),
    ),
    "run that takes no tool outputs": (
        Facts("request", 'Runs in status "expired" do not accept tool outputs.', 400, type="invalid_request_error"),
        Facts("request", "Expected tool outputs for call_ids ['call_a', 'call_b'], got ['call_a']", 400),
    ),
    "rate limit": (
        Facts("request", "Rate limit reached.", 429, "rate_limit_exceeded", "requests", retry_after=1.0),
        Facts("request", "Rate limit reached.", 429, type="tokens"),
    ),
    "too many requests of an unknown kind": (Facts("request", "Slow down.", 429),),
    "time-out or conflict at the server": (
        Facts("request", "Request timeout.", 408),
        Facts("request", "Conflict.", 409),
    ),
    "server error": (
        Facts("request", "The server had an error.", 500, "server_error"),
        Facts("request", "Bad gateway.", 502),
        Facts("request", "Slow down.", 503, "rate_limit_exceeded"),
        Facts("request", "The site is overloaded.", 529),
    ),
    "request refused": (
        Facts("request", "Invalid value.", 400, type="invalid_request_error"),
        Facts("request", "Incorrect API key provided.", 401, "invalid_api_key"),
        Facts("request", "Country not supported.", 403),
        Facts("request", "No such model.", 404, "model_not_found"),
        Facts("request", "Too large.", 413),
        Facts("request", "Unprocessable.", 422),
    ),
    "quota or spend limit, in a response": (
        Facts("response", QUOTA, code="rate_limit_exceeded"),
        Facts("response", "No.", code="insufficient_quota"),
    ),
    "context longer than the model takes, in a response": (
        Facts("response", TOO_LONG, code="invalid_prompt"),
        Facts("response", "Too long.", code="context_length_exceeded"),
    ),
    "vector store gone, in a response": (
        Facts("response", "Vector store vs_1 has expired.", code="server_error"),
        Facts("response", "Vector store with id vs_1 not found.", code="invalid_prompt"),
    ),
    "refused by the server's own word": (
        Facts("response", "Something went wrong.", code="server_error"),
        Facts("response", "Rate limit reached.", code="rate_limit_exceeded"),
        Facts("response", "An error event without a code.", type="server_error"),
        Facts("response", LOCKED, code="conversation_locked"),
    ),
    "cancelled by someone else": (Facts("response", "The response ended cancelled.", code="cancelled"),),
    "run expired": (Facts("response", "The run ended expired.", code="expired"),),
    "vector store too slow": (Facts("response", "Too slow.", code="vector_store_timeout"),),
    "failed for another reason": (
        Facts("response", "No.", code="invalid_prompt"),
        Facts("response", "No.", code="brand_new"),
        Facts("response", "An error event that says nothing."),
    ),
}
"""By the name of the rule."""
