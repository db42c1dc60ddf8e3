"""Drawing on a copy of the image: boxes, filled masks, labels and a legend."""
