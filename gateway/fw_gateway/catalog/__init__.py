"""What is known of providers and models before anyone calls them: rows, prices, capabilities, deprecation dates."""
