"""One data set each: its folders, files, channels and labels. `clmer.data.registry` lists them."""
