"""Pages read as a browser reads them: by Python's own HTML parser, never by searching the text."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, text, and the rows of tables."""

    def __init__(self, text):
        super().__init__()
        self.tags = []  # (name, attributes)
        self.rows = []  # per <tr>: attributes, text of the cells, values of <data>
        self.style = ""
        self.text = ""
        self._open = []
        self.feed(text)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append((dict(attributes), [], []))
        elif tag in ("td", "th") and self.rows:
            self.rows[-1][1].append("")
        elif tag == "data":
            self.rows[-1][2].append([float(dict(attributes)["value"]), ""])

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" in self._open:
            self.style += data
            return
        self.text += data
        if "tr" in self._open and self.rows[-1][1]:
            self.rows[-1][1][-1] += data
        if self._open and self._open[-1] == "data":
            self.rows[-1][2][-1][1] += data

    def attributes(self, name):
        """Every value of an attribute, whatever the element."""
        return [attributes[name] for _, attributes in self.tags if name in attributes]

    def errors(self, data_set, group=""):
        """Exact values and shown texts in the row of a data set or a group."""
        return next(row[2] for row in self.rows if row[0].get("data-set") == data_set and row[0]["data-group"] == group)
