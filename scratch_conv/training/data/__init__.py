"""The data sets: drawn here, read from folders of images, or downloaded."""
