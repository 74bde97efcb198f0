"""Pages for a browser: of runs (`clmer report`) and of a data set (`clmer inspect`)."""
