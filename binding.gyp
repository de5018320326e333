{ "includes": ["native/targets.gypi"] }
