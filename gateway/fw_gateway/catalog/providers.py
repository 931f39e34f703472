"""The provider rows: who they are, where they are, where their key comes from. A new OpenAI-compatible provider is a line here."""

from collections.abc import Mapping
from types import MappingProxyType

from fw_gateway.catalog.rows import ProviderRow

_HOSTED = (
    ProviderRow(
        "openai",
        "OpenAI",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        speaks=("openai_chat", "openai_responses", "openai_embeddings"),
        otel_name="openai",
        prices="openai",
        profile="openai",
    ),
    ProviderRow(
        "anthropic",
        "Anthropic",
        "https://api.anthropic.com/v1",
        "ANTHROPIC_API_KEY",
        speaks=("anthropic_messages", "anthropic_count_tokens"),
        otel_name="anthropic",
        prices="anthropic",
        profile="anthropic",
        key_header="x-api-key",
    ),
    ProviderRow(
        "fireworks",
        "Fireworks AI",
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_API_KEY",
        otel_name="fireworks",
        prices="fireworks",
        profile="fireworks",
    ),
    ProviderRow(
        "together",
        "Together AI",
        "https://api.together.xyz/v1",
        "TOGETHER_API_KEY",
        otel_name="together",
        prices="together",
        profile="together",
    ),
    ProviderRow(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com/v1",
        "DEEPSEEK_API_KEY",
        otel_name="deepseek",
        prices="deepseek",
        profile="deepseek",
    ),
    ProviderRow(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        otel_name="groq",
        prices="groq",
        profile="groq",
    ),
    ProviderRow(
        "mistral",
        "Mistral AI",
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        otel_name="mistral_ai",
        prices="mistral",
        profile="mistral",
    ),
    ProviderRow(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        otel_name="openrouter",
        prices="openrouter",
        profile="openrouter",
        ttft_limit=20.0,
    ),
    ProviderRow("xai", "xAI", "https://api.x.ai/v1", "XAI_API_KEY", otel_name="x_ai", prices="x-ai", profile="xai"),
    ProviderRow(
        "moonshot",
        "Moonshot AI",
        "https://api.moonshot.ai/v1",
        "MOONSHOT_API_KEY",
        otel_name="moonshot_ai",
        prices="moonshotai",
        profile="moonshot",
    ),
    ProviderRow(
        "cerebras",
        "Cerebras",
        "https://api.cerebras.ai/v1",
        "CEREBRAS_API_KEY",
        otel_name="cerebras",
        prices="cerebras",
        profile="cerebras",
    ),
    ProviderRow(
        "perplexity",
        "Perplexity",
        "https://api.perplexity.ai",
        "PERPLEXITYAI_API_KEY",
        otel_name="perplexity",
        prices="perplexity",
        profile="perplexity",
    ),
)

_SELF_HOSTED = (
    ProviderRow(
        "ollama",
        "Ollama",
        "http://127.0.0.1:11434/v1",
        otel_name="ollama",
        self_hosted=True,
        profile="ollama",
        ttft_limit=60.0,  # loads the model on the first call
    ),
    ProviderRow(
        "lmstudio",
        "LM Studio",
        "http://127.0.0.1:1234/v1",
        otel_name="lmstudio",
        self_hosted=True,
        profile="lmstudio",
        ttft_limit=60.0,
    ),
    ProviderRow("vllm", "vLLM", "", otel_name="vllm", self_hosted=True, profile="vllm", ttft_limit=30.0),
    ProviderRow("sglang", "SGLang", "", otel_name="sglang", self_hosted=True, profile="sglang", ttft_limit=30.0),
    ProviderRow(
        "llamacpp", "llama.cpp", "", otel_name="llama.cpp", self_hosted=True, profile="llamacpp", ttft_limit=60.0
    ),
    ProviderRow(
        "embedded",
        "llama.cpp in a process of this gateway",
        "",
        otel_name="llama.cpp",
        self_hosted=True,
        profile="llamacpp",
        ttft_limit=60.0,
    ),
    ProviderRow("openai_compatible", "Any OpenAI-compatible server", "", otel_name="openai_compatible"),
)

_BRIDGED = (
    ProviderRow("gemini", "Google Gemini", "", "GEMINI_API_KEY", otel_name="gcp.gemini", prices="google", bridge=True),
    ProviderRow("litellm", "Any provider of litellm", "", otel_name="litellm", bridge=True),
    ProviderRow(
        "vertex",
        "Google Vertex AI",
        "",
        "GOOGLE_APPLICATION_CREDENTIALS",
        otel_name="gcp.vertex_ai",
        prices="google",
        bridge=True,
    ),
    ProviderRow(
        "bedrock", "Amazon Bedrock", "", "AWS_ACCESS_KEY_ID", otel_name="aws.bedrock", prices="aws", bridge=True
    ),
    ProviderRow("azure", "Azure OpenAI", "", "AZURE_API_KEY", otel_name="azure.ai.openai", prices="azure", bridge=True),
    ProviderRow("cohere", "Cohere", "", "COHERE_API_KEY", otel_name="cohere", prices="cohere", bridge=True),
)

providers: Mapping[str, ProviderRow] = MappingProxyType({row.name: row for row in _HOSTED + _SELF_HOSTED + _BRIDGED})
"""Every row by name, in the order in which people should see them."""
