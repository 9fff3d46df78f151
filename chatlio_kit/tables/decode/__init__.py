"""From raw records to Arrow columns or rejections."""
