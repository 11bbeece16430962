"""The page of `natural-traces app`: drop pictures, read statements, download the table.

`text` writes pages and tables, `server` receives pictures and answers. No script runs in the browser, nothing is
fetched from elsewhere, and no byte of a picture is written to disk. Leans on what a statement is; the command line
alone may import it.
"""
