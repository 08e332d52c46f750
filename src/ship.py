from crrn.cli.ship import main

if __name__ == "__main__":
    main()
