"""What the app takes of a visitor."""

MIN_SIDE_PIXELS, MAX_PIXELS, MAX_FILE_BYTES = 8, 4_194_304, 20_000_000
