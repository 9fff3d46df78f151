"""The colours of plots and pages."""

# Okabe and Ito's palette, which colour-blind readers can distinguish.
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILLION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"
PALETTE = (BLUE, ORANGE, SKY, VERMILLION, GREEN, PURPLE)

PANEL, INK, QUIET, LINE = "#FCFCFA", "#22272B", "#5C656C", "#E3E6E4"
