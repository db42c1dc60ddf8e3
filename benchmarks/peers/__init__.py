"""Compare this project with ultralytics, sahi and supervision on the same work. None of their code is here."""
